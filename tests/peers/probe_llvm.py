"""Ends with 0 where Mitsuba's llvm variant renders with $DRJIT_LIBLLVM_PATH.

Some LLVMs load and abort only when a kernel is compiled, hence a picture.
"""

import sys

import mitsuba

mitsuba.set_variant("llvm_ad_rgb")

import numpy  # noqa: E402  Mitsuba's modules exist once its variant is set.

scene = mitsuba.cornell_box()
scene["sensor"]["film"]["width"] = scene["sensor"]["film"]["height"] = 16
picture = numpy.array(mitsuba.render(mitsuba.load_dict(scene), spp=4))
sys.exit(not (numpy.isfinite(picture).all() and picture.mean() > 0.05))
