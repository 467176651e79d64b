from .artifact import Artifact as Artifact
from .artifact import Probe as Probe
from .artifact import read_artifact as read_artifact
from .artifact import write_artifact as write_artifact
from .export import export_model as export_model
from .gates import GateReport as GateReport
from .gates import check_export as check_export
from .telemetry import no_telemetry as no_telemetry
