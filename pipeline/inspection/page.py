"""Write an inspection as one HTML page that needs no other file and loads nothing. Everything in it is escaped."""

import jinja2

from pipeline.inspection.report import Inspection, rows

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Inspection of a shop's files</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; }
h1, h2 { font-weight: 600; line-height: 1.2; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; font-size: .85em; }
.warning { border-left: 3px solid #b3261e; padding-left: .8rem; }
.strip { display: flex; flex-wrap: wrap; gap: .5rem; }
.strip figure { margin: 0; width: 8rem; font-size: .75em; overflow-wrap: anywhere; }
.strip img { height: 96px; }
</style>
</head>
<body>
<main>
<h1>What is in these files</h1>
{% for warning in found.warnings %}<p class="warning">{{ warning }}</p>
{% endfor %}
<table><caption>Figures</caption>
{% for name, value in rows %}<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% if found.facts.review_lines is not none %}
<h2>What is left with k items a user</h2>
<table>
<tr><th scope="col" class="n">k</th><th scope="col" class="n">users</th><th scope="col" class="n">items</th>\
<th scope="col" class="n">pairs</th><th scope="col" class="n">items with a shop's picture</th>\
<th scope="col" class="n">users with k pictured items</th></tr>
{% for k, core in found.facts.tables.predicted.items() %}<tr><th scope="row" class="n">{{ k }}</th>\
<td class="n">{{ "{:,}".format(core.users) }}</td><td class="n">{{ "{:,}".format(core["items"]) }}</td>\
<td class="n">{{ "{:,}".format(core.interactions) }}</td>\
<td class="n">{{ "{:,}".format(core.items_with_picture) }}</td>\
<td class="n">{{ "{:,}".format(core.users_with_pictures) }}</td></tr>
{% endfor %}</table>
{% endif %}
{% if found.estimates %}
<h2>What a run would take</h2>
<table>
<tr><th scope="col">stage</th><th scope="col" class="n">time</th><th scope="col" class="n">disk</th></tr>
{% for one in found.estimates %}<tr><th scope="row">{{ one.stage }}</th>\
<td class="n">{{ "{:,.1f}".format(one.seconds) }} s</td>\
<td class="n">{{ "{:,.1f}".format(one.disk / 1e6) }} MB</td></tr>
{% endfor %}</table>
{% endif %}
<h2>The files</h2>
{% for line in found.facts.understood %}<p>{{ line }}</p>
{% endfor %}
{% for file in found.facts.files %}
<h3><code>{{ file.path }}</code></h3>
<p>{{ file.kind }}{% if file.layout %}, layout {{ file.layout }}{% endif %}, {{ "{:,}".format(file.bytes) }} bytes,
{{ "{:,}".format(file.rejected) }} lines rejected{% if file.columns %};
columns: {{ file.columns|join(", ") }}{% endif %}</p>
<p><code>{{ file.sample }}</code></p>
{% endfor %}
{% if found.pictures %}
<h2>A sample of the pictures</h2>
<div class="strip">
{% for one in found.pictures %}<figure>{% if one.thumbnail %}\
<img src="{{ one.thumbnail }}" alt="{{ one.title or one.asin }}">\
{% endif %}<figcaption>{{ one.asin }}: {{ one.outcome }}<br>{{ one.address }}</figcaption></figure>
{% endfor %}</div>
{% endif %}
</main>
</body>
</html>
"""


def html(found: Inspection) -> str:
    """Render the page."""
    templates = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return templates.from_string(PAGE).render(found=found, rows=list(rows(found)))
