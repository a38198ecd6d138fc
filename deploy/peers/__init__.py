"""Side by side with other plate readers, where the user has installed them."""
