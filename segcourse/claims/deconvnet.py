"""The claims about DeconvNet (see book/results.ipynb)."""

from segcourse.claims.judging import BAR, Claim, Finding, ahead, claim, points, seeds


def _decoder(record: dict, name: str, key: str = "miou") -> list[float]:
    runs = record["metrics"]["trained"][name]["runs"]
    if key == "shapes":  # the six classes that are told by their shape
        return [sum(run["iou"][:6]) / 6 for run in runs]
    return seeds(runs, key)


@claim("deconvnet", "deconvnet/switches", section="What the runs say about switches")
def true_switches_win(record: dict) -> Finding:
    """Switches bring place back.

    mIoU: true switches ahead of fixed corners, corners ahead of random places, in every seed.
    """
    true, fixed, random = (_decoder(record, name) for name in ("true", "fixed", "random"))
    measured = f"true {points(true)}, fixed corners {points(fixed)}, random {points(random)}"
    return Finding(measured, (*ahead(true, fixed), *ahead(fixed, random)))


@claim("deconvnet", "deconvnet/switches", section="What the runs say about switches")
def switches_matter_near_borders(record: dict) -> Finding:
    """Switches help most near borders.

    Their lead over fixed corners is larger within 1 px of a border than over all pixels, in
    every seed.
    """

    def lead(key: str) -> list[float]:
        pairs = zip(_decoder(record, "true", key), _decoder(record, "fixed", key), strict=True)
        return [true - fixed for true, fixed in pairs]

    near, everywhere = lead("trimap_1px_miou"), lead("miou")
    measured = f"lead {points(near)} points within 1 px, {points(everywhere)} over all pixels"
    return Finding(measured, ahead(near, everywhere))


@claim("deconvnet", "deconvnet/switches", section="What the runs say about switches")
def a_learned_decoder_wins(record: dict) -> Finding:
    """A learned decoder with switches beats bilinear enlargement.

    mIoU of all classes, and of the six that are told by their shape, in every seed.
    """
    checks, told = [], []
    for key, name in (("miou", "all classes"), ("shapes", "the six classes of shape")):
        learned, bilinear = (_decoder(record, n, key) for n in ("true", "no_decoder"))
        checks += ahead(learned, bilinear)
        told.append(f"{name}: learned {points(learned)}, bilinear {points(bilinear)}")
    return Finding("; ".join(told), tuple(checks))


@claim("deconvnet", "deconvnet/switches", section="What the runs say about switches")
def only_switches_draw_thin_things(record: dict) -> Finding:
    """Thin things come back by their switches alone.

    IoU of the bars: some with true switches, DeconvNet's or SegNet's (1 % or more), and none
    without (below 1 %), in every seed.
    """
    bars = {
        name: [iou[BAR] for iou in _decoder(record, name, "iou")]
        for name in ("true", "segnet", "fixed", "random", "bilinear", "no_decoder")
    }
    checks = [value >= 0.01 for name in ("true", "segnet") for value in bars[name]]
    checks += [v < 0.01 for n in ("fixed", "random", "bilinear", "no_decoder") for v in bars[n]]
    rest = [v for n in ("fixed", "random", "bilinear", "no_decoder") for v in bars[n]]
    measured = (
        f"true switches {points(bars['true'])}, SegNet {points(bars['segnet'])}, "
        f"all others at most {100 * max(rest):.1f}"
    )
    return Finding(measured, tuple(checks))


@claim("deconvnet", "deconvnet/switches", section="What the runs say about switches")
def learned_decoders_win_without_switches(record: dict) -> Finding:
    """A learned decoder pays without switches, too.

    The six classes of shape: fixed corners, random places and bilinear steps ahead of bilinear
    alone, in every seed.
    """
    plain = _decoder(record, "no_decoder", "shapes")
    names = {"fixed": "corners", "random": "random", "bilinear": "bilinear steps"}
    found = {name: _decoder(record, name, "shapes") for name in names}
    told = ", ".join(f"{said} {points(found[name])}" for name, said in names.items())
    checks = [ok for values in found.values() for ok in ahead(values, plain)]
    return Finding(f"{told}; bilinear alone {points(plain)}", tuple(checks))


@claim("deconvnet", "deconvnet/switches", section="The same weights, other switches")
def a_decoder_needs_the_switches_it_learned_with(record: dict) -> Finding:
    """A decoder depends on the kind of switches that it learned with.

    Given corners, random places or bilinear maps, a network of true switches is behind one that
    learned with these, in every seed.
    """
    names = ("fixed", "random", "bilinear")
    given = [
        seeds(record["metrics"]["trained_true_tested"][name]["runs"], "miou") for name in names
    ]
    learned = [_decoder(record, name) for name in names]
    told = ", ".join(
        f"{name} {points(g)} against {points(n)}"
        for name, g, n in zip(("corners", "random", "bilinear"), given, learned, strict=True)
    )
    checks = [ok for g, n in zip(given, learned, strict=True) for ok in ahead(n, g)]
    return Finding(f"given, against learned with: {told}", tuple(checks))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
