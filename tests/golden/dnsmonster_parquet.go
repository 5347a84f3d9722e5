// What wrote dnsmonster_parquet/dnsmonster.parquet: parquet-go 0.25 with the columns of dnsmonster 1.0, rows
// as JSON lines on standard input (the responses of tests/test_one_definition.py; a query; another opcode and
// class; response code 23; a label that is too long). Not run by any test:
//
//	go mod init x && go get github.com/parquet-go/parquet-go@v0.25.0 && go run . OUT < rows.json
package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"time"

	"github.com/parquet-go/parquet-go"
)

type row struct {
	Timestamp    time.Time `parquet:"timestamp,snappy"`
	IPVersion    uint32    `parquet:"ip_version,snappy,dict"`
	SrcIP        net.IP    `parquet:"src_ip,snappy"`
	DstIP        net.IP    `parquet:"dst_ip,snappy"`
	Protocol     string    `parquet:"protocol,snappy,dict"`
	QR           uint32    `parquet:"qr,snappy,dict"`
	Opcode       uint32    `parquet:"opcode,snappy,dict"`
	Qclass       uint32    `parquet:"qclass,snappy,dict"`
	Qtype        uint32    `parquet:"qtype,snappy,dict"`
	EDNS         uint32    `parquet:"edns,snappy,dict"`
	DoBit        uint32    `parquet:"do_bit,snappy,dict"`
	Rcode        uint32    `parquet:"rcode,snappy"`
	QueryName    string    `parquet:"query_name,brotli,dict"`
	PacketLength uint32    `parquet:"packet_length,snappy"`
	Identity     string    `parquet:"identity,snappy,optional"`
	Version      string    `parquet:"version,snappy,optional"`
}

func main() {
	out, _ := os.Create(os.Args[1])
	w := parquet.NewGenericWriter[row](out, parquet.BloomFilters(parquet.SplitBlockFilter(10, "query_name")), parquet.WriteBufferSize(256000), parquet.CreatedBy("dnsmonster", "version", "build"))
	scan := bufio.NewScanner(os.Stdin)
	rows := []row{}
	for scan.Scan() {
		var r row
		if err := json.Unmarshal(scan.Bytes(), &r); err != nil {
			panic(err)
		}
		if v4 := r.SrcIP.To4(); v4 != nil {
			r.SrcIP, r.DstIP = v4, r.DstIP.To4()
		}
		rows = append(rows, r)
		if len(rows) == 10 {
			w.Write(rows)
			w.Flush()
			rows = rows[:0]
		}
	}
	w.Write(rows)
	w.Flush()
	w.Close()
	out.Close()
}
