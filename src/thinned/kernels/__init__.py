"""The same few functions on several back ends: C++ (`cpu`) and plain torch arithmetic (`tensor`)."""
