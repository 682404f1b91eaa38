"""What the commands of ``workbench`` do and print, by subject; ``cli`` gathers them.

Whatever is slow to import is imported by the command that needs it.
"""

DONE, FAILED, BAD_INPUT = 0, 1, 2  # exit statuses
