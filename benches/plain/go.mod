module drctl.example/plain

go 1.25
