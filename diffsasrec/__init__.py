"""DiffSASRec: sequential recommendation by masked diffusion, in tensors and nothing else.

The core knows no files but a folder it is handed, draws no pictures and opens no connections.
"""
