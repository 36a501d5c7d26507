mod bench;
mod edges;
mod extents;
mod pool;
mod storm;
