"""Fuzz targets of `media`: each input must end in a documented error or in output that keeps its promises."""
