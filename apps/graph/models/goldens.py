"""The networks' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.graph.models.goldens_gnn import POLYNORMER, SGFORMER, TUNED
from apps.graph.models.goldens_graphgps import GRAPHGPS
from apps.graph.models.goldens_largegt import LARGEGT

GOLDENS = {"graphgps": GRAPHGPS, "largegt": LARGEGT, "polynormer": POLYNORMER, "sgformer": SGFORMER, "tunedgnn": TUNED}
