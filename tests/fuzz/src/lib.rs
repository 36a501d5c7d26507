#![forbid(unsafe_code)]
//! Coverage-guided fuzz targets.
