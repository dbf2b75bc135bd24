"""Bytes on the wire: headers, markers, checksums, capture files. No keys, no policy."""
