//! Empty: this package only holds features together.
