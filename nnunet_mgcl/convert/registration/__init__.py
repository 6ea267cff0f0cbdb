"""All channels of a case on one grid."""
