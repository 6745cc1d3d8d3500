"""Published numbers of the paper protocol: data -> system -> scaled MSE and MAE."""

__all__ = ["PAPER"]


def _rows(systems: dict[str, str], sets: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    out: dict[str, dict[str, dict[str, float]]] = {name: {} for name in sets}
    for system, numbers in systems.items():
        for name, pair in zip(sets, numbers.split(), strict=True):
            mse, mae = pair.split("/")
            out[name][system] = {"MSE": float(mse), "MAE": float(mae)}
    return out


# Wang et al. 2024 (TimeXer), table 2: 168 -> 24, covariates over the look-back only.
PAPER = _rows(
    {
        "TimeXer (paper)": ".236/.268 .093/.192 .379/.243 .385/.208 .440/.415",
        "iTransformer (paper)": ".265/.300 .097/.197 .394/.270 .439/.233 .479/.443",
        "PatchTST (paper)": ".267/.284 .106/.209 .400/.262 .411/.220 .461/.432",
        "Crossformer (paper)": ".240/.285 .101/.199 .420/.290 .434/.208 .574/.430",
        "TiDE (paper)": ".335/.340 .124/.228 .523/.336 .510/.290 .568/.496",
        "TimesNet (paper)": ".250/.289 .097/.195 .419/.288 .431/.234 .502/.446",
        "DLinear (paper)": ".309/.321 .108/.215 .463/.313 .429/.260 .520/.463",
    },
    ["EPF NP", "EPF PJM", "EPF BE", "EPF FR", "EPF DE"],
)
