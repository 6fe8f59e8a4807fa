"""Running a transformer over many texts: batches of like length, each text once, in the fastest safe precision.

Also where the offline backbone lies, and the fingerprint by which weights are recognised.
"""

from __future__ import annotations

from dse.encoding.encoder import FastEncoder
from dse.encoding.identity import fingerprint
from dse.encoding.offline import offline_backbone
from dse.encoding.runtime import auto_dtype, resolve_dtype

__all__ = ["FastEncoder", "auto_dtype", "fingerprint", "offline_backbone", "resolve_dtype"]
