"""The page's style sheet: light and dark, no font and no picture from elsewhere."""

STYLE = """
:root{--paper:#fbfaf7;--ink:#1d2430;--soft:#6a7383;--grid:#e4e1da;--card:#fff;--good:#16735b;
--bad:#b4372b;--plain:#2e5fa3;--peer:#9a7b2f;--fourth:#7d4a9e}
@media(prefers-color-scheme:dark){:root{--paper:#14171c;--ink:#e6e8ec;--soft:#98a1b0;--grid:#2a2f38;
--card:#1b1f26;--good:#4cc29f;--bad:#ef7d70;--plain:#7fb0f5;--peer:#d8b75e;--fourth:#c394e0}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 80px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:44px 0 6px}
h3{font-size:14px;margin:0 0 6px}p{margin:4px 0 14px;max-width:74ch}
.soft,small{color:var(--soft)}.soft{font-size:13px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th{text-align:left;font-weight:600;font-size:12px;color:var(--soft);vertical-align:bottom}
th,td{padding:6px 10px 6px 0;border-bottom:1px solid var(--grid)}
td.n,th.n{text-align:right}td small{display:block;font-size:11.5px}
.wide{overflow-x:auto}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px;margin:18px 0}
.card{background:var(--card);border:1px solid var(--grid);border-radius:8px;padding:12px 14px}
.card b{display:block;font-size:25px;font-weight:650;line-height:1.2}
.card .soft{display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(310px,1fr));gap:14px}
svg{width:100%;height:auto;display:block}
svg.bar{width:120px;height:15px;overflow:visible;margin:2px 0}
svg.matrix{max-width:640px}
svg text{font-size:10.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .num{text-anchor:end}svg .mid{text-anchor:middle}svg .name{font-size:11px}
svg .tiny{font-size:8.5px;text-anchor:middle}
.grid{stroke:var(--grid);stroke-width:1;fill:none}
.line polyline,.line path{fill:none;stroke-width:1.8}.line circle{stroke:none}
.good polyline,.good path{stroke:var(--good)}.good circle{fill:var(--good)}
.band.good{fill:var(--good)}
.bad polyline,.bad path{stroke:var(--bad)}.bad circle{fill:var(--bad)}.band.bad{fill:var(--bad)}
.plain polyline,.plain path{stroke:var(--plain)}.plain circle{fill:var(--plain)}
.band.plain{fill:var(--plain)}
.peer polyline,.peer path{stroke:var(--peer)}.peer circle{fill:var(--peer)}
.band.peer{fill:var(--peer)}
.fourth polyline,.fourth path{stroke:var(--fourth)}.fourth circle{fill:var(--fourth)}
.band.fourth{fill:var(--fourth)}
.keys{font-size:12px;margin:2px 0 4px}.keys span{margin-right:14px;white-space:nowrap}
.key{display:inline-block;width:16px;height:3px;border-radius:2px;margin:0 5px 3px 0}
.key.good{background:var(--good)}.key.bad{background:var(--bad)}.key.plain{background:var(--plain)}
.key.peer{background:var(--peer)}.key.fourth{background:var(--fourth)}
.band{fill-opacity:.13}.ideal{stroke:var(--soft);stroke-dasharray:4 4;fill:none}
.chosen{stroke:var(--ink);stroke-dasharray:2 3;fill:none}
.count{fill:var(--soft);fill-opacity:.18}
.rail{fill:var(--grid)}.fill{fill:var(--plain)}.whisker{stroke:var(--ink);fill:none}
.mark{stroke:var(--peer);stroke-width:2.5;fill:none}
.cell{fill:var(--bad)}.diagonal{fill:var(--grid);fill-opacity:.55}
.met{color:var(--good);font-weight:600}.short{color:var(--bad);font-weight:600}
code{font:12.5px ui-monospace,Menlo,Consolas,monospace}
.warn{border-left:4px solid var(--bad);padding:6px 12px;background:var(--card)}
"""


def frame_drawing(svg: str) -> str:
    """Return an inline drawing as a file of its own, with its colours on white."""
    light, _, rest = STYLE.partition("@media")
    style = light.replace("svg ", "") + rest.partition("}}")[2].replace("svg ", "")
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="630" height="375" font-family="sans-serif" '
    )
    start = svg.replace("<svg ", head, 1).replace(">", f"><style>{style}</style>", 1)
    return start.replace("</style>", '</style><rect width="100%" height="100%" fill="white"/>', 1)
