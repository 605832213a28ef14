"""What every resource stands on. The kernel knows no resource."""
