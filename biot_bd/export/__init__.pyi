from .artifact import Artifact as Artifact
from .artifact import Probe as Probe
from .artifact import read_artifact as read_artifact
from .artifact import write_artifact as write_artifact
