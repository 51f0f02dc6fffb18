"""Where pixels lie: scenes, tiles, mosaics, regions, polygons. Knows nothing of what a pixel
means."""
