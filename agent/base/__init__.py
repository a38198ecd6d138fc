"""What every stage may know: records, errors, settings, clock, files, log, health."""
