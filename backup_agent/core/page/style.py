"""How the status page looks, and the Content-Security-Policy with which it is sent.

The policy allows nothing but this style sheet, by its hash: no script, no image, no font, no request, no frame.
"""

from base64 import b64encode
from hashlib import sha256

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #d9dde3; --text: #1c2430; --soft: #55606e; --link: #0b57b0;
  --good: #14713d; --good-fill: #e3f4ea; --warn: #8a5200; --warn-fill: #fdf1d8; --bad: #b3261e; --bad-fill: #fde7e5;
  --muted: #55606e; --muted-fill: #eceff3; --code: #f0f2f5;
  --stretch: #9cc7f0; --point: #1d5fa8; --held: #8a5200; --drilled: #14713d; --broken: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --line: #313a46; --text: #e4e9ef; --soft: #a3aebb; --link: #8ab8f5;
    --good: #74d49b; --good-fill: #17352a; --warn: #f0bf62; --warn-fill: #3a2e14; --bad: #ff9d94; --bad-fill: #43201e;
    --muted: #a3aebb; --muted-fill: #28303a; --code: #222a34;
    --stretch: #2f5f92; --point: #a9cffa; --held: #f0bf62; --drilled: #74d49b; --broken: #ff9d94;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 4rem; }
body { margin: 0; background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", "Liberation Sans", sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: .5rem; padding: .4rem .8rem; background: var(--card); }
h1 { margin: 1.5rem 0 0; font-size: 1.35rem; font-weight: 650; letter-spacing: -.01em; }
h2 { margin: 2.25rem 0 .6rem; font-size: 1.1rem; font-weight: 650; }
h3 { margin: 0; font-size: .95rem; font-weight: 600; }
p { margin: .25rem 0; }
.soft { color: var(--soft); font-size: .875rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin: .6rem 0 0; padding: 0; list-style: none;
  font-size: .875rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.health { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem 1rem; margin-top: 1.25rem;
  padding: 1rem 1.25rem; border-radius: 10px; border: 1px solid; }
.health strong { font-size: 1.3rem; letter-spacing: .02em; }
.health p { margin: 0; font-size: 1.05rem; color: var(--text); }
.health.good, .pill.good { color: var(--good); background: var(--good-fill); }
.health.warn, .pill.warn { color: var(--warn); background: var(--warn-fill); }
.health.bad, .pill.bad { color: var(--bad); background: var(--bad-fill); }
.health.muted, .pill.muted { color: var(--muted); background: var(--muted-fill); }
.pill { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .8125rem; font-weight: 600;
  max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; vertical-align: bottom; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .muted { color: var(--muted); }
.problems { margin: .75rem 0 0; padding: 0; list-style: none; }
.problems li { display: grid; grid-template-columns: 8.5rem 1fr auto; gap: .15rem .9rem; align-items: baseline;
  padding: .55rem 1.25rem; }
.problems li + li { border-top: 1px solid var(--line); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .9rem 1.5rem;
  margin: .75rem 0 0; padding: 1rem 1.25rem; }
.facts dt { color: var(--soft); font-size: .8125rem; }
.facts dd { margin: 0; }
.facts dd a { color: inherit; text-decoration-color: var(--soft); }
.wide { overflow: auto; max-height: 36rem; }
.wide thead th { position: sticky; top: 0; background: var(--card); }
table { width: 100%; overflow-wrap: break-word; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem; text-align: left; vertical-align: top; font-weight: 400; }
thead th { color: var(--soft); font-size: .8125rem; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--line); }
tbody th, .long { overflow-wrap: anywhere; }
tbody th { min-width: 12rem; } .long { min-width: 11rem; }
.none { padding: .75rem 1.25rem; color: var(--soft); }
.scale { position: sticky; top: 0; z-index: 1; padding: .2rem 1.25rem 0; background: var(--card);
  border-bottom: 1px solid var(--line);
  border-radius: 10px 10px 0 0; }
svg { display: block; width: 100%; height: 20px; overflow: visible; }
.scale text { fill: var(--soft); font-size: 12px; }
.base { stroke: var(--line); stroke-width: 1; }
.stretches { stroke: var(--stretch); stroke-width: 8; }
.fulls { stroke: var(--point); stroke-width: 3; } .differentials { stroke: var(--point); stroke-width: 1.25; }
.broken { stroke: var(--broken); stroke-width: 3; } .late { stroke: var(--broken); stroke-width: 2;
  stroke-dasharray: 3 3; }
.held { stroke: var(--held); stroke-width: 6; } .drilled { stroke: var(--drilled); stroke-width: 6; }
path, line { fill: none; vector-effect: non-scaling-stroke; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .4rem 0 .6rem; padding: 0; list-style: none; }
.legend svg { display: inline-block; width: 26px; height: 14px; vertical-align: -2px; margin-right: .3rem; }
.database { padding: .7rem 1.25rem .8rem; }
.database + .database { border-top: 1px solid var(--line); }
.title { display: flex; flex-wrap: wrap; gap: .2rem .7rem; align-items: baseline; margin-bottom: .35rem; }
details { margin-top: .3rem; }
summary { cursor: pointer; color: var(--link); font-size: .875rem; width: max-content; max-width: 100%; }
.more { margin: 0; } .more > summary { padding: .7rem 1.25rem; }
.more > .database { border-top: 1px solid var(--line); }
.points { margin-top: .4rem; font-size: .875rem; }
.points th, .points td { padding: .15rem .9rem .15rem 0; white-space: nowrap; }
.points th:nth-child(5) { padding-left: .5rem; }
.points td:nth-child(4) { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; color: var(--soft); }
.points td:nth-child(5) { min-width: 26rem; padding-left: .5rem; background: var(--code); white-space: normal;
  overflow-wrap: anywhere; font: .8125rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  user-select: all; -webkit-user-select: all; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
footer { padding-top: 1.5rem; padding-bottom: 2.5rem; }
@media (max-width: 70rem) {
  .points tr { display: block; padding: .4rem 0; }
  .points thead { display: none; }
  .points td { display: inline-block; padding: 0 .7rem 0 0; white-space: normal; }
  .points td:nth-child(4), .points td:nth-child(5) { display: block; padding: 0 .4rem; min-width: 0; }
  .points td:nth-child(4) { padding: 0; }
}
@media (max-width: 46rem) {
  header, main, footer { padding-left: .75rem; padding-right: .75rem; }
  .problems li { grid-template-columns: 1fr auto; padding: .55rem .75rem; }
  .problems li > :nth-child(2) { grid-column: 1 / -1; grid-row: 2; }
  .seldom, .scale text:nth-last-child(even) { display: none; }
  .pill { padding: 0 .4rem; font-size: .75rem; }
  th, td { padding: .4rem .5rem; }
  thead th { white-space: normal; }
  tbody th { min-width: 5.5rem; } .long { min-width: 0; }
  .health, .facts, .database, .none, .scale { padding-left: .75rem; padding-right: .75rem; }
}
@media print {
  :root { --page: #fff; --card: #fff; --line: #bbb; --text: #000; --soft: #444; --link: #000; }
  nav, .skip, summary { display: none; }
  .scale, .wide thead th { position: static; }
  .card { border-radius: 0; }
  .database, .problems li, tr { break-inside: avoid; }
  .wide { overflow: visible; max-height: none; }
  svg, .pill, .health { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
"""The style sheet. Every pair of text and ground has a contrast of at least 4.5 in both schemes."""

_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()

POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of every answer over HTTP."""


_WAITING = """<!doctype html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<meta http-equiv=refresh content=2>
<title>Neo4j backups</title>
<style>{style}</style>
</head>
<body><main><h1>Neo4j backups</h1><p role=status>{text}</p></main></body>
</html>
"""


def waiting(text: str) -> bytes:
    """Return a page that says why the status page is not there yet, and asks again after two seconds.

    `text` is HTML of the agent's own: it is not escaped.
    """
    return _WAITING.format(style=STYLE, text=text).encode()
