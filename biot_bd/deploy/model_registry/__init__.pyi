from .differences import FactDifference as FactDifference
from .differences import VersionDifference as VersionDifference
from .differences import compare_versions as compare_versions
from .places import default_root as default_root
from .registry import Registry as Registry
from .verification import Replay as Replay
from .verification import Verification as Verification
from .verification import verify_version as verify_version
