"""What the kernel says: threads, system calls, descriptors, files, processes."""
