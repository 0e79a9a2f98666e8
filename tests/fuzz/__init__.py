"""Fuzz targets: what reads bytes that anybody may have written, and what has to hold of it whatever they are."""
