"""The dashboards as code; `python -m grafana.boards` writes them to `grafana/dashboards`.

A number of a board is a sentence of PromQL: `promql` has its words. A panel is a number with a
title, a unit and a sentence for who pays: `panels` has its shapes. `layout` puts panels together.
Each board is one module.
"""

from . import measurement, spend

BOARDS = {one.UID: one.board for one in (spend, measurement)}
"""Every board by its uid, which is also the name of its file."""
