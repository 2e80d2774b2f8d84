"""FLV as pure code: parse, classify and write tags, AMF0, and (in `media.flv.recorder`) record a live stream into files."""
