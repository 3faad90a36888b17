/* page_html.S - the bytes of page.html as serve_page_html, their number as serve_page_html_size. */
    .section .rodata
    .global serve_page_html, serve_page_html_size
serve_page_html:
    .incbin "src/serve/page.html"
1:
    .balign 8
serve_page_html_size:
    .quad 1b - serve_page_html
    .section .note.GNU-stack, "", %progbits
