"""Relief: what regions are made of, as whole numbers: gradients, plateaus that fall, markers of
superpixels, thin edges."""
