mod bench;
mod bounds;
mod edges;
mod extents;
mod pool;
mod shares;
mod storm;
