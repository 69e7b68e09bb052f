"""Where images come from, and how they are held in memory."""
