from .channel_readers import open_reader as open_reader
from .edf import EdfHeader as EdfHeader
from .edf import open_edf as open_edf
from .edf import read_edf_header as read_edf_header
from .recordings import OpenRecording as OpenRecording
from .recordings import open_recording as open_recording
from .recordings import read_blocks as read_blocks
from .recordings import read_excerpt as read_excerpt
