"""The page that the server shows to a browser: plain files, no build step, nothing from other hosts."""
