"""Load paths: the class, one sampler a file, and the driver that runs any law along any path."""
