"""What a policy's C costs on emulated microcontrollers: instructions and memory."""
