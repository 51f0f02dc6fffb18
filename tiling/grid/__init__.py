"""Where pixels lie: pure geometry, no file is opened."""
