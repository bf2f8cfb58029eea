module preimageserver

go 1.21
