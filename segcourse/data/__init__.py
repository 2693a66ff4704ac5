"""Data sets behind one interface: generated scenes and real pictures, void = 255."""

from segcourse.data.base import SegmentationData
from segcourse.data.scenes import Instance, Scene, Scenes, scene

__all__ = ["Instance", "Scene", "Scenes", "SegmentationData", "scene"]
