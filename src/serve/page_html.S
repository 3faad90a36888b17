/* page_html.S - the bytes of page.html as serve_page_html. */
    .section .rodata
    .global serve_page_html, serve_page_html_end
serve_page_html:
    .incbin "src/serve/page.html"
serve_page_html_end:
    .section .note.GNU-stack, "", %progbits
