"""The frame of a run's report: page, cells and style; filled in by `helpers.commands.report`."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Good or bad: run {{ run }}</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<header>
<h1>Good or bad: run {{ run }}</h1>
{% if smoke %}<p class="warning">Smoke preset: wiring only, the numbers mean nothing.</p>{% endif %}
</header>
<nav>
<ol>
{% for section in sections %}
<li><a href="#{{ section.stage }}">{{ section.title }}</a></li>
{% endfor %}
</ol>
</nav>
<main>
<section id="facts">
<h2>The run</h2>
<table class="facts">
{% for name, text in facts.items() %}
<tr><th>{{ name }}</th><td>{{ text }}</td></tr>
{% endfor %}
</table>
<h2>Where the time goes</h2>
<table class="costs">
<thead><tr><th>stage</th><th class="number">time</th><th></th>\
<th class="number">peak memory</th><th>of it</th></tr></thead>
{% for row in costs %}
<tr{% if not row.stage %} class="total"{% endif %}>
<td>{% if row.stage %}<a href="#{{ row.stage }}">{{ row.stage }}</a>{% else %}all{% endif %}</td>
<td class="number">{{ row.time }}</td>
<td class="share">{% if row.stage %}\
<div style="width:{{ '%.1f' | format(100 * row.share) }}%"></div>{% endif %}</td>
<td class="number">{{ row.memory }}</td>
<td>{{ row.work | join('; ') }}</td>
</tr>
{% endfor %}
</table>
<p class="remark">Steps are the parts of a stage that are not done again while their inputs stay the
same; a stage's time is that of its last execution.</p>
<details class="settings"><summary>All settings</summary>
{% for stage, values in settings.items() %}
<h3>{{ stage }}</h3>
<p>{% for name, value in values.items() %}<code>{{ name }} = {{ value }}</code> {% endfor %}</p>
{% endfor %}
</details>
</section>
{% for section in sections %}
<section id="{{ section.stage }}" class="notebook">
<h1>{{ section.title }}</h1>
{% if not section.is_current %}<p class="warning">This copy is older than the stage's last
execution, which was done by hand.</p>{% endif %}
{{ section.body | safe }}
</section>
{% endfor %}
</main>
</body>
</html>
"""

# nbconvert's basic template with the code folded away
CELLS = """\
{%- extends 'basic/index.html.j2' -%}
{% block codecell %}<div class="cell code_cell">{{ self.input_group() }}\
{% if cell.outputs %}{{ self.output_group() }}{% endif %}</div>{% endblock codecell %}
{% block input_group %}<details class="code"><summary>code</summary>
{{ cell.source | highlight_code(metadata=cell.metadata) }}
</details>{% endblock input_group %}
"""

STYLE = """\
:root { --line: #d8dee4; --quiet: #57606a; --accent: #0969da; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 0 24px 64px; color: #1f2328; background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75em; line-height: 1.25; margin: 1.2em 0 .5em; }
h2 { font-size: 1.3em; margin: 1.6em 0 .5em; }
h3 { font-size: 1.05em; margin: 1.2em 0 .3em; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { border: 1px solid var(--line); border-radius: 6px; padding: 4px 8px; background: #f6f8fa; }
nav ol { list-style: none; margin: 8px 0; padding-left: 12px; }
section.notebook { border-top: 3px solid var(--line); margin-top: 48px; }
section.notebook p, section.notebook li { max-width: 52em; }
table { border-collapse: collapse; font-size: .875em; margin: .8em 0; }
th, td { border-bottom: 1px solid var(--line); padding: 4px 12px 4px 0; text-align: left;
  vertical-align: top; }
table.facts th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
table.costs { width: 100%; }
.number { text-align: right; white-space: nowrap; }
.share { width: 160px; }
.share div { height: .8em; margin-top: .35em; background: var(--accent); border-radius: 2px;
  min-width: 1px; }
.total td { font-weight: 600; }
.remark, details summary { color: var(--quiet); font-size: .875em; }
.warning { color: #b62324; font-weight: 600; }
details summary { cursor: pointer; width: max-content; }
details.settings code { display: inline-block; margin-right: 1.2em; }
details.code { margin: .4em 0; }
pre { overflow-x: auto; margin: .4em 0; padding: 10px 12px; background: #f6f8fa; border-radius: 6px;
  font-size: .8125em; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { font-size: .875em; }
pre code { font-size: 1em; }
.output_text pre { background: none; padding: 0; color: var(--quiet); }
.output_html { overflow-x: auto; }
.output_png img { max-width: 100%; height: auto; }
caption { color: var(--quiet); max-width: 70em; }
table.dataframe, .dataframe th, .dataframe td { border: 0; white-space: nowrap; }
.dataframe th, .dataframe td { border-bottom: 1px solid var(--line); }
@media (max-width: 700px) {
  body { padding: 0 12px 48px; }
  .share { display: none; }
  table.costs td, table.facts td { overflow-wrap: anywhere; }
}
@media print {
  details.code, nav { display: none; }
  section.notebook { page-break-before: always; }
}
"""
