"""Published test values in percent, by the label of a set: accuracy, or ROC AUC for sets of two classes.

Heterophilous sets: mean of ten official splits, from the notebook of the data's release (Platonov et al. 2023), from
Luo et al. 2024 (tuned), Deng et al. 2024 (Polynormer's release) and Behrouz et al. 2025 (GSM++). Planetoid: the fixed
split (Kipf & Welling 2017, Velickovic et al. 2018); numbers on random splits of the same graphs are not comparable and
not here.
"""

__all__ = ["PUBLISHED"]

PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
    "roman_empire": {
        "ResNet, no graph": (65.88, None),
        "GCN": (73.69, None),
        "SAGE": (85.74, None),
        "GAT-sep": (88.75, None),
        "tuned GCN": (91.27, None),
        "tuned SAGE": (91.06, None),
        "Polynormer": (92.48, None),
        "GSM++": (91.77, 0.40),
    },
    "amazon_ratings": {
        "ResNet, no graph": (45.90, None),
        "GCN": (48.70, None),
        "SAGE": (53.63, None),
        "GAT-sep": (52.70, None),
        "tuned GCN": (53.80, None),
        "tuned SAGE": (55.40, None),
        "Polynormer": (55.04, None),
        "GSM++": (53.90, 1.04),
    },
    "minesweeper": {
        "ResNet, no graph": (50.89, 1.39),
        "GCN": (89.75, 0.52),
        "SAGE": (93.51, 0.57),
        "GAT-sep": (93.91, None),
        "tuned GCN": (97.86, 0.24),
        "tuned SAGE": (97.77, 0.62),
        "tuned GAT": (97.73, 0.73),
        "Polynormer": (97.19, None),
        "GSM++": (91.49, 1.11),
    },
    "tolokers": {
        "ResNet, no graph": (72.95, 1.06),
        "GCN": (83.64, 0.67),
        "SAGE": (82.43, 0.44),
        "GAT-sep": (83.78, None),
        "Polynormer": (85.15, None),
    },
    "questions": {
        "ResNet, no graph": (70.34, None),
        "GCN": (76.09, None),
        "SAGE": (76.44, None),
        "GAT-sep": (76.79, None),
        "tuned GCN": (79.02, None),
        "tuned SAGE": (77.21, None),
        "Polynormer": (78.35, None),
    },
    "squirrel_filtered": {
        "tuned GCN": (45.01, 1.63),
        "tuned SAGE": (40.78, None),
        "tuned GAT": (41.73, None),
    },
    "chameleon_filtered": {
        "tuned GCN": (46.29, 3.40),
        "tuned SAGE": (44.81, None),
        "tuned GAT": (44.13, None),
    },
    "Cora (Planetoid)": {"GCN": (81.5, None), "GAT": (83.0, 0.7)},
    "CiteSeer (Planetoid)": {"GCN": (70.3, None), "GAT": (72.5, 0.7)},
    "PubMed (Planetoid)": {"GCN": (79.0, None), "GAT": (79.0, 0.3)},
}
