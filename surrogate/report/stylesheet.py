"""The style sheet of the page: one column of text that can be read on a telephone, a desk and paper."""

STYLESHEET = """
:root { --ink: #1d2433; --soft: #5b6472; --line: #dfe3e8; --wash: #f6f7f9; --accent: #0b5c8f;
  --good: #0a6b4f; --good-wash: #e4f4ee; --bad: #a33a00; --bad-wash: #fdece2; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
header { background: var(--wash); border-bottom: 1px solid var(--line); }
header > div, .columns { max-width: 76rem; margin: 0 auto; padding: 0 1.4rem; }
header > div { padding-top: 2.4rem; padding-bottom: 1.6rem; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.55rem, 4vw, 2.1rem); line-height: 1.2; letter-spacing: -.01em; }
.lead { max-width: 46rem; margin: 0; font-size: 1.08rem; color: #384152; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1.4rem 0 0; font-size: .82rem; }
.facts div { min-width: 0; max-width: 100%; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 3rem; padding-top: 1.5rem;
  padding-bottom: 4rem; }
nav { font-size: .9rem; }
nav h2 { margin: 0 0 .4rem; padding: 0; border: 0; font-size: .82rem; font-weight: 600; color: var(--soft); }
nav ol { margin: 0; padding-left: 1.3rem; }
nav li { margin: .15rem 0; }
nav li::marker { color: var(--soft); font-variant-numeric: tabular-nums; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
main { min-width: 0; }
section { scroll-margin-top: 1rem; }
h2 { margin: 2.6rem 0 .8rem; padding-top: 1.1rem; border-top: 1px solid var(--line); font-size: 1.35rem;
  line-height: 1.3; }
section:first-child h2 { margin-top: 1rem; }
p { max-width: 46rem; margin: .7rem 0; }
code, pre { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { padding: .08em .3em; background: var(--wash); border-radius: 3px; overflow-wrap: anywhere; }
figure { margin: 1.4rem 0; }
figure > div { overflow-x: auto; }
figure img { display: block; width: 100%; height: auto; }
figure.half img { max-width: 30rem; }
figure.full img { min-width: 36rem; }
figcaption, caption { font-size: .88rem; line-height: 1.5; color: #384152; }
figcaption { max-width: 46rem; margin-top: .4rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 0 2rem; }
.table { margin: 1.4rem 0 .6rem; overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.4; }
caption { margin-bottom: .5rem; text-align: left; }
th, td { padding: .42rem 1.4rem .42rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; border-bottom: 2px solid #aeb6c1; vertical-align: bottom; }
.unit { font-weight: 400; color: var(--soft); white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { margin-top: 0; font-size: .88rem; color: var(--soft); }
.met, .missed { display: inline-block; margin-left: .35rem; padding: 0 .5em; border-radius: 1em; font-size: .8rem;
  font-weight: 600; white-space: nowrap; }
.met { color: var(--good); background: var(--good-wash); }
.missed { color: var(--bad); background: var(--bad-wash); }
.met::before { content: "\\2713\\00a0"; }
.missed::before { content: "\\2717\\00a0"; }
.highlights { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: 1px; margin: 1.2rem 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
.highlight { padding: 1rem 1.1rem; background: #fff; font-size: .9rem; line-height: 1.4; }
.value { font-size: 1.75rem; font-weight: 650; line-height: 1.25; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; }
.value small { font-size: .95rem; font-weight: 500; letter-spacing: 0; }
.target { margin-top: .35rem; font-size: .82rem; color: var(--soft); }
details { margin: .8rem 0; border: 1px solid var(--line); border-radius: 6px; }
summary { padding: .55rem .9rem; cursor: pointer; font-size: .92rem; }
pre { margin: 0; padding: .3rem 1rem 1rem; overflow-x: auto; }
@media (min-width: 68rem) {
  .columns { grid-template-columns: 12rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; align-self: start; max-height: 100vh; padding-top: 1.2rem; overflow-y: auto; }
}
@media print {
  @page { margin: 18mm 16mm; }
  body { font-size: 10pt; }
  header { background: none; }
  header > div { padding: 0 0 1rem; }
  .columns { display: block; padding: 0; }
  nav { display: none; }
  h2 { break-after: avoid; }
  figure, table, .highlights { break-inside: avoid; }
  .pair { grid-template-columns: 1fr 1fr; }
  figure.full img { min-width: 0; }
  details { border: 0; }
  details:not([open]) > *:not(summary) { display: none; }
  a { color: inherit; }
}
"""
