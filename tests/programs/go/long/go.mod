module long

go 1.26
