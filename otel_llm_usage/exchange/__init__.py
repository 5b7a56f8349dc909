"""To and from files: records as they are, usage that others have written down, and FOCUS."""

from .focus import FocusExport, LeftOut, export_focus, focus_rows
from .importing import Imported, Problem, import_usage
from .raw import export_records
from .sheets import FORMS

__all__ = [
    "FORMS",
    "FocusExport",
    "Imported",
    "LeftOut",
    "Problem",
    "export_focus",
    "export_records",
    "focus_rows",
    "import_usage",
]
