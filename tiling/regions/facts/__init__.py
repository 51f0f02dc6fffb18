"""Facts of numbered regions: sizes, shapes, colours and textures, from whole numbers."""
