module drctl/testbed/images/pause

go 1.21
