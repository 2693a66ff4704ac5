"""Figures that a reader moves, and questions that answer back, with and without a kernel."""

from segcourse.widgets.control import Exploration, explore
from segcourse.widgets.questions import Quiz, quiz

__all__ = ["Exploration", "Quiz", "explore", "quiz"]
