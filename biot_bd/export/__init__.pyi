from .gates import GateReport as GateReport
from .gates import check_export as check_export
from .telemetry import no_telemetry as no_telemetry
