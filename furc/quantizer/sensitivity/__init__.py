"""How much an error in a channel moves the outputs: gains by reverse mode, and the noise that follows from them."""
