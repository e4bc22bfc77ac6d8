"""What one host must do: the language between the compiler and its consumers.

Everything that can decide a packet is in here, and nothing below interprets a
profile again: the renderer prints it, the evaluator judges packets by it.
"""
